//! What the archive says of itself to people and to machines: a page, and for each suite a file for
//! `/etc/apt/sources.list.d/` (sources.list(5), "DEB822-STYLE FORMAT") with the keys in it.

use std::fmt::Write as _;

use crate::suite::SuiteSpec;
use invirtibuilder_core::config::archive::PUBLIC_KEY;
use invirtibuilder_core::names::{Architecture, Component, Suite};

/// Returns the name of the file that makes apt read a suite.
pub fn sources_name(suite: &Suite) -> String {
    format!("{suite}.sources")
}

/// Writes the file that makes apt read a suite at `url`. `keys` are the public keys, in armour.
pub fn sources(spec: &SuiteSpec, url: &str, keys: &[u8]) -> String {
    let words = |words: Vec<&str>| words.join(" ");
    let mut text = format!(
        "Types: deb deb-src\nURIs: {url}\nSuites: {}\nComponents: {}\nArchitectures: {}\nSigned-By:\n",
        spec.suite.suite,
        words(spec.components.iter().map(Component::as_str).collect()),
        words(spec.architectures.iter().map(Architecture::as_str).collect()),
    );
    for line in String::from_utf8_lossy(keys).lines() {
        let _ = writeln!(text, " {}", if line.trim().is_empty() { "." } else { line });
    }
    text
}

/// Writes the page of the archive: which suites there are, and how a machine reads one.
pub fn page(title: &str, url: &str, suites: &[SuiteSpec]) -> String {
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{0}</title>\n<style>\n\
         :root {{ color-scheme: light dark }}\n\
         body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}\n\
         pre {{ overflow-x: auto; padding: .7rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: .3rem }}\n\
         </style>\n<h1>{0}</h1>\n<p>A Debian archive. Its keys are in <a href=\"{PUBLIC_KEY}\">{PUBLIC_KEY}</a>; \
         compare them with what its people tell you.</p>\n",
        escaped(title)
    );
    for spec in suites {
        let (suite, file) = (escaped(spec.suite.suite.as_str()), sources_name(&spec.suite.suite));
        let _ = writeln!(text, "<h2>{suite}</h2>");
        if let Some(description) = &spec.description {
            let _ = writeln!(text, "<p>{}</p>", escaped(description));
        }
        let list = |words: Vec<&str>| escaped(&words.join(", "));
        let _ = write!(
            text,
            "<p>Components: {}. Architectures: {}.</p>\n\
             <p>The file <a href=\"{file}\">{file}</a> makes apt read it. As root:</p>\n\
             <pre>curl -fsSo /etc/apt/sources.list.d/{file} {}/{file}\napt update</pre>\n",
            list(spec.components.iter().map(Component::as_str).collect()),
            list(spec.architectures.iter().map(Architecture::as_str).collect()),
            escaped(url),
        );
    }
    text
}

/// Writes a text as it stands in HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_configuration_is_markup() {
        let page = page("<b>&\"'", "https://x/?a=1&b", &[]);
        assert!(page.contains("&lt;b&gt;&amp;&quot;&#39;") && !page.contains("<b>"), "{page}");
    }
}
