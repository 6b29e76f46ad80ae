//! What an echo job costs as on AWS, counted where its requests pass.

use testbed::aws::bench::bill;
use testbed::{leave_out, ledger_agent};

#[test]
fn an_echo_job_keeps_to_its_budget_of_requests_and_units() {
    let (items, dollars) = match bill::measure(ledger_agent!(), 40, testbed::aws::SCALE) {
        Ok(bill) => bill,
        Err(why) => return leave_out("the system as on AWS", &why),
    };
    for (what, spent, budget) in &items {
        testbed::say(&format!("an echo job as on AWS: {spent:.2} {what}, of {budget}"));
    }
    testbed::say(&format!("the control plane of a million echo jobs: ${dollars:.2}; $27 were estimated"));
    for (what, spent, budget) in items {
        assert!(spent <= budget, "{spent:.2} {what}, more than {budget}");
    }
}
