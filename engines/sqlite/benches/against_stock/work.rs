//! One process for each arm: so the memory of an arm is that of its process, and can be bounded.
//!
//! The process that measures writes the number of a row to the standard input of the other, which runs the row, and answers with
//! the nanoseconds that it took, and those of CPU.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use crate::{
    arms::{Arm, Label},
    bound::Group,
    options::{Options, Work},
    rows::{self, Template, Took},
};

/// Runs the rows that the standard input names, until it ends.
pub fn run(work: &Work, options: &Options) {
    let template = Template::found(&work.folder);
    let bytes = work.memory.of(template.bytes);
    let (pool, arm) = Arm::new(work.arm, bytes, &work.folder, work.direct);
    println!("{}", pool.as_ref().map(|pool| pool.pool().stats().method.to_string()).unwrap_or_default());
    let rows = rows::rows(&template, &options.scale, work.memory);
    for line in std::io::stdin().lines() {
        let row: usize = line.unwrap().parse().unwrap();
        let before = pool.as_ref().map(|pool| pool.pool().stats());
        let took = (rows[row].run)(&arm);
        println!("{} {}", took.time.as_nanos(), took.cpu.as_nanos());
        if let (Some(pool), Some(before), true) = (&pool, before, options.arm.is_some()) {
            let (now, then) = (pool.pool().stats().counts, before.counts);
            eprintln!("{}: before {then:?}\n  after {now:?}", rows[row].name);
        }
    }
}

/// The process of an arm, as the process that measures has it.
pub struct Worker {
    pub label: Label,
    /// How the pool of the arm does I/O; empty for the other arms.
    pub method: String,
    child: Child,
    rows: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    /// Removed after the process has ended.
    group: Option<Group>,
}

impl Worker {
    /// Starts the process, in a group of its own if its memory is to be bounded.
    pub fn start(work: &Work, options: &Options, group: Option<Group>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(work.arguments()).args(options.scale.argument());
        if let Some(arm) = options.arm {
            command.args(["--arm", &arm.to_string()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        if let Some(group) = &group {
            group.add(child.id()).unwrap();
        }
        let rows = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let method = answers.next().expect("the process of an arm has begun").unwrap();
        Self { label: work.arm, method, child, rows, answers, group }
    }

    /// Runs a row, and returns what the part took that counts.
    pub fn run(&mut self, row: usize) -> Took {
        writeln!(self.rows.as_ref().unwrap(), "{row}").unwrap();
        let answer = self.answers.next().unwrap_or_else(|| panic!("the process of {} has ended", self.label));
        let answer = answer.unwrap();
        let mut nanoseconds = answer.split(' ').map(|part| Duration::from_nanos(part.parse().unwrap()));
        Took { time: nanoseconds.next().unwrap(), cpu: nanoseconds.next().unwrap() }
    }

    /// Returns the bytes that the process has for itself, of those that a bound covers: its pages without a file, caches included.
    pub fn own_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        of("RssAnon:").unwrap_or(0) << 10
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.rows.take()); // It ends at the end of its input.
        let _ = self.child.wait();
        drop(self.group.take());
    }
}
