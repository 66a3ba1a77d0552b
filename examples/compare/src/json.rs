//! The findings as JSON. The keys are a contract: a key that is removed or changes its meaning raises the version.

use lab::serde_json::{Value, json};
use lab::stats::Spread;

use crate::findings::{Finding, Findings, PARTS};
use crate::host::Host;
use crate::options::Options;
use crate::verdict::Side;

/// Raised when a key is removed or changes its meaning; a new key does not raise it.
pub(crate) const VERSION: u32 = 1;

/// Makes one object of everything that is known.
pub(crate) fn document(host: &Host, options: &Options, findings: &Findings) -> Value {
    let verdicts = findings.verdicts.iter().map(|verdict| {
        let evidence = &verdict.evidence;
        let to_cache = evidence.page_cache.as_ref().map(|standing| standing.ratio.median);
        json!({
            "workload": evidence.workload,
            "arm": evidence.arm,
            "against": evidence.plain.against,
            "ratio": spread(&evidence.plain.ratio),
            "noise": evidence.noise,
            "side": verdict.side.name(),
            "pays": verdict.side == Side::Faster,
            "ratio_to_page_cache": to_cache,
            "sentence": verdict.sentence,
        })
    });
    let failures = findings
        .failures
        .iter()
        .map(|failed| json!({ "workload": failed.workload, "arm": failed.arm, "error": failed.error }));
    json!({
        "schema": "ringpool-compare",
        "version": VERSION,
        "host": host.json(),
        "options": options.json(),
        "verdict": verdicts.collect::<Vec<_>>(),
        "rows": findings.rows.iter().map(row).collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
        "left_out": findings.left_out,
        "arms_with_wrong_bytes": findings.differences(),
        "remarks": findings.methods.iter().chain(&findings.remarks).collect::<Vec<_>>(),
    })
}

fn row(finding: &Finding) -> Value {
    let mut row = json!(finding.row);
    let latencies = finding.latencies_us.as_ref().map(|us| {
        PARTS.iter().zip(us).map(|(part, us)| json!({ "part": part, "us": us })).collect::<Vec<_>>()
    });
    let to_plain = finding.to_plain.as_ref();
    row["pages_per_s_spread"] = json!(finding.rate.as_ref().map(spread));
    row["plain_arm"] = json!(to_plain.map(|(standing, _)| &standing.against));
    row["ratio_to_plain"] = json!(to_plain.map(|(standing, _)| spread(&standing.ratio)));
    let told = to_plain.filter(|(_, side)| *side != Side::Unknown);
    row["within_noise"] = json!(told.map(|(_, side)| *side == Side::Within));
    row["latencies"] = json!(latencies);
    row
}

fn spread(Spread { min, lower, median, upper, max }: &Spread) -> Value {
    json!({ "min": min, "lower": lower, "median": median, "upper": upper, "max": max })
}
