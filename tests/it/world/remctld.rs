//! A remctld of a story's own, beside that of the world.

use std::fs;
use std::process::{Child, Command};

use super::{Answer, SOON, eventually};

/// A running remctld; ended when dropped.
pub struct Remctld {
    child: Child,
    port: String,
}

impl Remctld {
    /// Starts one with this configuration. Its files have `name` in their names.
    pub fn start(name: &str, config: &str, umask: &str) -> Self {
        let file = format!("/run/world/remctl-{name}.conf");
        fs::write(&file, config).unwrap();
        let port = format!("/run/world/remctl-{name}-port");
        let _ = fs::remove_file(&port);
        let log = fs::File::create(format!("/run/world/log/remctld-{name}")).unwrap();
        let child = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh", "script/lib/listen", &port])
            .args([
                "remctld",
                "-m",
                "-F",
                "-S",
                "-f",
                &file,
                "-k",
                "/etc/krb5.keytab",
                "-s",
                "host/localhost",
            ])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        eventually("remctld listens", SOON, || fs::metadata(&port).is_ok());
        Self { child, port: fs::read_to_string(&port).unwrap().trim().to_owned() }
    }

    /// What somebody's call with these words is answered.
    pub fn ask(&self, who: &str, words: &[&str]) -> Answer {
        let remctl = ["remctl", "-p", &self.port, "-s", "host/localhost", "localhost"];
        Answer::of(Command::new("as").arg(who).args(remctl).args(words))
    }
}

impl Drop for Remctld {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
