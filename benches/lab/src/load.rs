//! How much of the machine other processes have used, which can make a measurement worthless without showing in it.
//!
//! Counted are the user time of other processes and the time that the hypervisor gave to other machines. System time is left out,
//! since the kernel's threads spend it on our own I/O too (a loop device's worker, for example) and nothing tells which process it
//! was for.

use std::fs;

use rustix::param::clock_ticks_per_second;

/// The machine's and this process's use of the CPUs up to now, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Ticks of all CPUs, idle ones included.
    all: u64,
    /// Ticks of user time and of stolen time.
    busy: u64,
    /// Ticks of this process's user time.
    own: u64,
}

impl Load {
    /// Reads the use up to now; `None` where the kernel does not tell.
    #[must_use]
    pub fn now() -> Option<Self> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let process = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&machine, &process)
    }

    fn parse(machine: &str, process: &str) -> Option<Self> {
        let line = machine.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user.
        let &[user, nice, _, _, _, _, _, steal, ..] = &ticks[..] else {
            return None;
        };
        // The command's name is in brackets and may hold anything; user time is the twelfth field after it.
        let (_, fields) = process.rsplit_once(") ")?;
        let own = fields.split_whitespace().nth(11)?.parse().ok()?;
        Some(Self { all: ticks[..8].iter().sum(), busy: user + nice + steal, own })
    }

    /// Returns what was used between `earlier` and this.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let Self { all, busy, own } = earlier;
        Self { all: self.all - all, busy: self.busy.saturating_sub(busy), own: self.own - own }
    }

    /// Returns the sum of both uses.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { all: self.all + other.all, busy: self.busy + other.busy, own: self.own + other.own }
    }

    /// Returns the share of the machine, 0 to 1, that other processes have used; `None` below a tenth of a second, which the
    /// kernel's ticks cannot resolve.
    #[must_use]
    pub fn others_share(self) -> Option<f64> {
        let others = self.busy.saturating_sub(self.own);
        (self.all * 10 >= clock_ticks_per_second()).then(|| others as f64 / self.all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(machine: &str, user: u64) -> Load {
        let process = format!("7 (a ) name) R 1 2 3 4 5 6 7 8 9 10 {user} 99 0 0");
        Load::parse(machine, &process).unwrap()
    }

    #[test]
    fn the_share_of_others_is_user_and_stolen_time_that_was_not_ours() {
        let before = load("cpu  100 10 50 1000 0 0 0 5 0 0\ncpu0 1 1 1", 40);
        let after = load("cpu  160 10 90 1080 0 0 10 15 0 0\ncpu0 1 1 1", 60);
        // 70 ticks busy, 20 of them ours, of 200 in all.
        assert_eq!(after.since(before).others_share(), Some(0.25));
    }

    #[test]
    fn too_short_a_time_has_no_share() {
        assert_eq!(Load { all: 5, busy: 5, own: 0 }.others_share(), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(Load::now().is_some());
    }
}
