//! The benchmark in its short form: that it works, and that what does not depend on the machine holds.

use testbed::aws::bench::{Options, run};

#[test]
fn waiting_jobs_are_launched_at_the_quota_and_listed_within_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("aws.json");
    let only = ["launches", "listing"].map(str::to_owned).to_vec();
    let options = Options { out: out.clone(), short: true, factor: 4, agent: String::new(), only };
    let (figures, table) = run(&options).expect("it works");
    testbed::say(&format!("\n{table}"));
    let missed: Vec<_> = figures.iter().filter(|figure| figure.is_met() == Some(false)).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    let written = std::fs::read_to_string(out).expect("the figures");
    assert!(written.contains("figures"), "{written}");
}
