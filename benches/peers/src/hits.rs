//! The table of hits: all arms beside the floor, one thread and two.

use lab::{
    Arm, Result, Sample,
    measure::on_cores,
    report::{Align, Table},
    stats::Spread,
};

use crate::{contestants::Contestants, orders::Law, peers::Peer, run};

/// Hits of each thread in a round; as many as an eighth of that come before the clock starts.
const HITS: usize = 1 << 18;

const FLOOR: &str = "array floor";

pub(crate) fn measure(rounds: u32) -> Result<()> {
    for (pages, laws) in
        [(1 << 16, &[Law::Uniform, Law::Zipf, Law::OnePage][..]), (1 << 20, &[Law::Uniform, Law::Zipf])]
    {
        let contestants = Contestants::new(pages)?;
        for &law in laws {
            compare(&contestants, law, rounds)?;
        }
    }
    Ok(())
}

fn compare(contestants: &Contestants, law: Law, rounds: u32) -> Result<()> {
    let &Contestants { pages, page_size, ref floor, .. } = contestants;
    let orders = law.orders(pages, HITS, 2 * rounds as usize);
    let of_round = |round: u32, threads: usize| &orders[2 * round as usize..][..threads];
    let mut arms = Vec::new();
    for threads in [1, 2] {
        arms.push(Arm::new(called(FLOOR, threads), move |round| {
            let _ = floor.run(&warm_ups(of_round(round, threads)));
            Ok(floor.run(of_round(round, threads)))
        }));
        arms.extend(contestants.peers().map(|(name, peer)| {
            Arm::new(called(name, threads), move |round| hit_all(peer, of_round(round, threads)))
        }));
    }
    println!("\n{pages} pages of {page_size} bytes, {law}");
    let outcome = run(rounds, FLOOR, arms)?;
    let mut table = Table::new(&[
        ("", Align::Left),
        ("ns a hit", Align::Right),
        ("to the floor", Align::Right),
        ("quartiles", Align::Right),
        ("two threads: ns a hit", Align::Right),
        ("hits/s, two threads to one", Align::Right),
    ]);
    let known = "there were rounds";
    for name in [FLOOR].into_iter().chain(contestants.peers().map(|(name, _)| name)) {
        let ns = |threads| {
            let ns = outcome.spread(&called(name, threads), Sample::ns_per_page).expect(known).median;
            format!("{:.1}", ns * threads as f64)
        };
        let Spread { lower, median, upper, .. } =
            outcome.ratio(name, FLOOR, Sample::ns_per_page).expect(known);
        let gain = outcome.ratio(&called(name, 2), name, Sample::pages_per_s).expect(known);
        table.push([
            name.to_owned(),
            ns(1),
            format!("{median:.2}"),
            format!("{lower:.2} to {upper:.2}"),
            ns(2),
            format!("{:.2}", gain.median),
        ]);
    }
    print!("{table}");
    let noise = outcome.noise(Sample::ns_per_page).expect(known);
    println!("the floor to itself: {:.3} ({:.3} to {:.3})", noise.median, noise.lower, noise.upper);
    Ok(())
}

/// Returns an arm's name; that of one thread is the contestant's.
fn called(name: &str, threads: usize) -> String {
    if threads == 1 { name.to_owned() } else { format!("{name}, {threads} threads") }
}

/// Returns the hits before the clock starts, which load the most used pages into the processor's caches after the other arms.
fn warm_ups(orders: &[Vec<u32>]) -> Vec<Vec<u32>> {
    orders.iter().map(|order| order[..HITS / 8].to_vec()).collect()
}

fn hit_all(peer: &dyn Peer, orders: &[Vec<u32>]) -> Result<Sample> {
    for order in warm_ups(orders) {
        peer.hit_all(&order);
    }
    let (sums, elapsed) = on_cores(orders.len(), |thread| peer.hit_all(&orders[thread]));
    let right = orders.iter().map(|order| order.iter().copied().map(u64::from).sum::<u64>());
    if !right.eq(sums) {
        return Err("these are not the bytes of the pages that were asked for".into());
    }
    Ok(elapsed.sample(orders.iter().map(|order| order.len() as u64).sum(), 0))
}
