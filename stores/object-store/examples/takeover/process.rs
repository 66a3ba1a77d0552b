//! Runs this program a second time, as a process that writes the tree: [`Process`].
//!
//! What the process prints is shown with its role in front. A line counts once it is whole: a process that is killed may leave a part of one.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::tree::Result;

/// How long a process may be silent. Far longer than a checkpoint takes on a busy machine.
const SILENCE: Duration = Duration::from_secs(30);

/// How long the lines of a paused process may take through its pipe.
const PIPE: Duration = Duration::from_millis(200);

/// A process that this one started. It is killed when this is dropped.
pub(crate) struct Process {
    role: &'static str,
    child: Child,
    lines: Receiver<String>,
    /// How many keys the process found when it opened the tree.
    pub(crate) found: u64,
    /// How many keys were in the last checkpoint that the process reported.
    pub(crate) reported: u64,
}

impl Process {
    /// Starts this program with a role, the store's address, the number of the writer, and the keys that it must find at least.
    pub(crate) fn start(role: &'static str, address: &str, writer: u64, at_least: u64) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([role, address, &writer.to_string(), &at_least.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("a child has the pipe that it was given")?;
        let (to_here, lines) = channel();
        thread::spawn(move || forward(stdout, &to_here));
        Ok(Self { role, child, lines, found: 0, reported: 0 })
    }

    /// Waits until the process has reported so many checkpoints more.
    pub(crate) fn wait_for_checkpoints(&mut self, count: u32) -> Result<()> {
        let mut seen = 0;
        while seen < count {
            let before = self.reported;
            if let Err(error) = self.take_line(SILENCE) {
                return Err(format!("{}: no further checkpoint: {error}", self.role).into());
            }
            seen += u32::from(self.reported > before);
        }
        Ok(())
    }

    /// Kills the process with SIGKILL, wherever it is, and notes what it had reported by then.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        self.end(u64::MAX)
    }

    /// Stops the process with SIGSTOP, wherever it is, and notes what it had reported by then.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.signal("-STOP")?;
        while self.take_line(PIPE).is_ok() {}
        Ok(())
    }

    /// Lets a paused process go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal("-CONT")
    }

    /// Waits for the process to end, and returns how it ended. A checkpoint of more than `most` keys is an error.
    pub(crate) fn end(&mut self, most: u64) -> Result<ExitStatus> {
        loop {
            match self.take_line(SILENCE) {
                Ok(()) if self.reported > most => {
                    return Err(format!("{} reports a checkpoint of more than {most} keys", self.role).into());
                }
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(self.child.wait()?),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("{} does not end", self.role).into());
                }
            }
        }
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill {signal}: {status}").into()) }
    }

    /// Shows the process's next line, and notes the keys that it names.
    fn take_line(&mut self, most: Duration) -> std::result::Result<(), RecvTimeoutError> {
        let line = self.lines.recv_timeout(most)?;
        println!("    {}: {line}", self.role);
        let keys = keys_in(&line);
        if line.starts_with("checkpoint") {
            self.reported = keys.unwrap_or(self.reported);
        } else if line.starts_with("found") {
            self.found = keys.unwrap_or(self.found);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both do nothing to a process that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends each whole line, until the process ends.
fn forward(stdout: ChildStdout, lines: &Sender<String>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    while stdout.read_line(&mut line).is_ok() && line.ends_with('\n') {
        if lines.send(line.trim_end().to_owned()).is_err() {
            return;
        }
        line.clear();
    }
}

/// Returns the number before the first word "keys".
fn keys_in(line: &str) -> Option<u64> {
    let words: Vec<&str> =
        line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|word| *word == "keys")?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}
