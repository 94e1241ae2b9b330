//! Runs a test of this program again in a process of its own: with another environment, or to be killed.

use std::process::Command;

/// Tells the second process what to do. The first has it not.
pub(crate) const ROLE: &str = "STORE_TEST_ROLE";

/// The role of this process, if it is a second one.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// This program, about to run one test only.
pub(crate) fn command(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(ROLE, role);
    command
}
