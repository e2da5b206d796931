//! Exit statuses by which a sandbox tells the daemon what the sandbox itself has to say.

/// How a sandbox ended by its own doing. No command in a sandbox can end with one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The sandbox does not work.
    Broken = 213,
    /// All processes together used too much memory.
    Memory = 214,
    /// There were too many processes.
    Processes = 215,
    /// The file system was full, and the command failed or could not go on.
    Disk = 216,
    /// The virtual machine does not start.
    NotStarted = 217,
    /// The virtual machine does not start with KVM. It may without.
    NoKvm = 218,
    /// The virtual machine ended by itself, or said what our agent never says.
    MachineEnded = 219,
}

impl Status {
    /// Lists all of them.
    pub const ALL: [Self; 7] = [
        Self::Broken,
        Self::Memory,
        Self::Processes,
        Self::Disk,
        Self::NotStarted,
        Self::NoKvm,
        Self::MachineEnded,
    ];

    /// The highest exit status that a sandbox passes on from a command.
    const OF_COMMANDS: i32 = 200;

    /// Returns the exit status.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Finds what an exit status says of the sandbox; `None`: it is the command's.
    pub fn of(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| i32::from(status.code()) == code)
    }

    /// Keeps the exit status of a command below those that are the sandbox's own.
    pub fn of_command(code: i32) -> u8 {
        code.clamp(0, Self::OF_COMMANDS) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_says_what_a_sandbox_says() {
        for code in 0..=255 {
            assert_eq!(Status::of(Status::of_command(code).into()), None, "{code}");
        }
        for status in Status::ALL {
            assert_eq!(Status::of(status.code().into()), Some(status));
        }
    }
}
