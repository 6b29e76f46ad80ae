//! Where and how tasks run on ECS: the `AGENT_RUNNER_ECS_*` variables.

use super::table::{Setting, setting};
use super::{Reader, seconds};
use std::time::Duration;

/// The settings of tasks on ECS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcsSettings {
    /// `AGENT_RUNNER_ECS_TASK_DEFINITION`: an ARN or `<family>:<revision>`; empty where tasks run elsewhere.
    pub task_definition: String,
    /// `AGENT_RUNNER_ECS_SUBNETS`, sorted; empty where tasks run elsewhere.
    pub subnets: Vec<String>,
    /// `AGENT_RUNNER_ECS_SECURITY_GROUPS`, sorted.
    pub security_groups: Vec<String>,
    /// `AGENT_RUNNER_ECS_ASSIGN_PUBLIC_IP`
    pub assign_public_ip: bool,
    /// `AGENT_RUNNER_ECS_CONTAINER`
    pub container: String,
    /// `AGENT_RUNNER_ECS_RUN_TASK_PER_SECOND`
    pub run_task_per_second: u32,
    /// `AGENT_RUNNER_ECS_MODIFY_PER_SECOND`
    pub modify_per_second: u32,
    /// `AGENT_RUNNER_ECS_READS_PER_SECOND`
    pub reads_per_second: u32,
    /// `AGENT_RUNNER_ECS_SNAPSHOT_SECONDS`
    pub snapshot: Duration,
    /// `AGENT_RUNNER_ECS_PRICES`; absent: the list prices for the processor of the task definition.
    pub prices: Option<EcsPrices>,
    /// `AGENT_RUNNER_ECS_SPOT_PRICES`
    pub spot_prices: EcsPrices,
}

/// Prices of Fargate, in millionths of a US dollar per hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcsPrices {
    /// Of a vCPU.
    pub vcpu: u64,
    /// Of a GiB of memory.
    pub memory_gib: u64,
    /// Of a GiB of storage beyond the 20 that every task has.
    pub storage_gib: u64,
    /// Of a public IPv4 address.
    pub public_ip: u64,
}

/// AWS Fargate pricing, us-east-1, Linux on x86; Amazon VPC pricing for the address.
pub const LIST_PRICES_X86: EcsPrices =
    EcsPrices { vcpu: 40_480, memory_gib: 4_445, storage_gib: 111, public_ip: 5_000 };
/// The same on ARM.
pub const LIST_PRICES_ARM: EcsPrices =
    EcsPrices { vcpu: 32_380, memory_gib: 3_560, storage_gib: 111, public_ip: 5_000 };

/// The rows of the table of settings.
pub(super) const TABLE: [Setting; 11] = [
    Setting {
        default_words: "none; needed with AGENT_RUNNER_TASKS=ecs:<cluster>",
        ..setting(
            "AGENT_RUNNER_ECS_TASK_DEFINITION",
            "",
            "<family>:<revision> or an ARN with its revision",
            "ECS: the task definition of jobs whose job type names none.",
        )
    },
    Setting {
        default_words: "none; needed with AGENT_RUNNER_TASKS=ecs:<cluster>",
        ..setting("AGENT_RUNNER_ECS_SUBNETS", "", "1 to 16 ids, by commas", "ECS: the subnets of tasks.")
    },
    Setting {
        default_words: "that of the VPC",
        ..setting(
            "AGENT_RUNNER_ECS_SECURITY_GROUPS",
            "",
            "at most 5 ids, by commas",
            "ECS: the security groups of tasks whose job type names none.",
        )
    },
    setting(
        "AGENT_RUNNER_ECS_ASSIGN_PUBLIC_IP",
        "false",
        "true, false",
        "ECS: whether a task gets a public address, which it needs in a public subnet.",
    ),
    setting(
        "AGENT_RUNNER_ECS_CONTAINER",
        "worker",
        "the name of a container",
        "ECS: the container of the task definitions that is the worker.",
    ),
    setting(
        "AGENT_RUNNER_ECS_RUN_TASK_PER_SECOND",
        "20",
        "1 to 10000",
        "ECS: the account's rate of RunTask on Fargate.",
    ),
    setting(
        "AGENT_RUNNER_ECS_MODIFY_PER_SECOND",
        "40",
        "1 to 10000",
        "ECS: the account's rate of cluster resource modify actions, which RunTask and StopTask share.",
    ),
    setting(
        "AGENT_RUNNER_ECS_READS_PER_SECOND",
        "20",
        "1 to 10000",
        "ECS: the account's rate of cluster resource read actions.",
    ),
    setting(
        "AGENT_RUNNER_ECS_SNAPSHOT_SECONDS",
        "60",
        "1 to 600",
        "ECS: how old what is known of running tasks may be when no event told of a change.",
    ),
    Setting {
        default_words: "the list prices of us-east-1 for the processor of the task definition",
        ..setting(
            "AGENT_RUNNER_ECS_PRICES",
            "",
            "4 prices, by commas",
            "ECS: dollars per hour of a vCPU, a GiB of memory, a GiB of storage above 20, and a public address; \
             costs are estimated with them.",
        )
    },
    setting(
        "AGENT_RUNNER_ECS_SPOT_PRICES",
        "0.0202,0.0022,0.000111,0.005",
        "4 prices, by commas",
        "ECS: the same for Spot, whose prices move; the defaults are the upper end of what was seen.",
    ),
];

/// AwsVpcConfiguration, API reference.
const MOST_SUBNETS: usize = 16;
const MOST_SECURITY_GROUPS: usize = 5;

impl EcsSettings {
    pub(super) fn read<G: Fn(&str) -> Option<String>>(r: &mut Reader<G>) -> Self {
        let mut rate = |name| r.value(name, rate);
        let run_task_per_second = rate("AGENT_RUNNER_ECS_RUN_TASK_PER_SECOND");
        let modify_per_second = rate("AGENT_RUNNER_ECS_MODIFY_PER_SECOND");
        let reads_per_second = rate("AGENT_RUNNER_ECS_READS_PER_SECOND");
        Self {
            task_definition: r.given("AGENT_RUNNER_ECS_TASK_DEFINITION", task_definition).unwrap_or_default(),
            subnets: r
                .given("AGENT_RUNNER_ECS_SUBNETS", |text| ids(text, "subnet-", MOST_SUBNETS))
                .unwrap_or_default(),
            security_groups: r
                .given("AGENT_RUNNER_ECS_SECURITY_GROUPS", |text| ids(text, "sg-", MOST_SECURITY_GROUPS))
                .unwrap_or_default(),
            assign_public_ip: r.value("AGENT_RUNNER_ECS_ASSIGN_PUBLIC_IP", |text| {
                text.parse().map_err(|_| "true or false".to_owned())
            }),
            container: r.value("AGENT_RUNNER_ECS_CONTAINER", |text| Ok(text.to_owned())),
            run_task_per_second,
            modify_per_second,
            reads_per_second,
            snapshot: r.value("AGENT_RUNNER_ECS_SNAPSHOT_SECONDS", |text| {
                seconds(text, 1..=600).map(Duration::from_secs)
            }),
            prices: r.given("AGENT_RUNNER_ECS_PRICES", prices),
            spot_prices: r.value("AGENT_RUNNER_ECS_SPOT_PRICES", prices),
        }
    }

    /// What is missing where tasks run on ECS: the variable and what is allowed.
    pub(super) fn missing(&self) -> Vec<(&'static str, String)> {
        let needed = |name| (name, "is needed with AGENT_RUNNER_TASKS=ecs:<cluster>".to_owned());
        let mut missing = Vec::new();
        if self.task_definition.is_empty() {
            missing.push(needed("AGENT_RUNNER_ECS_TASK_DEFINITION"));
        }
        if self.subnets.is_empty() {
            missing.push(needed("AGENT_RUNNER_ECS_SUBNETS"));
        }
        missing
    }
}

fn task_definition(text: &str) -> Result<String, String> {
    if contract::job_type::has_revision(text) {
        Ok(text.to_owned())
    } else {
        Err("<family>:<revision>, or an ARN that ends so; a claim holds the revision that it launches".into())
    }
}

/// Ids by commas, sorted: a launch request is stored and must come out the same.
fn ids(text: &str, prefix: &str, most: usize) -> Result<Vec<String>, String> {
    let mut ids: Vec<String> = text.split(',').map(|id| id.trim().to_owned()).collect();
    ids.sort();
    ids.dedup();
    let good =
        |id: &String| id.starts_with(prefix) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if ids.len() <= most && ids.iter().all(good) {
        Ok(ids)
    } else {
        Err(format!("1 to {most} ids that start with \"{prefix}\", separated by commas"))
    }
}

fn rate(text: &str) -> Result<u32, String> {
    let found = text.parse().ok().filter(|n| (1..=10_000).contains(n));
    found.ok_or_else(|| "a whole number from 1 to 10000".to_owned())
}

fn prices(text: &str) -> Result<EcsPrices, String> {
    let refused =
        || "4 prices in dollars per hour, separated by commas, as in 0.04048,0.004445,0.000111,0.005";
    let micros = |text: &str| {
        let dollars = text.trim().parse::<f64>().ok().filter(|price| (0.0..1000.0).contains(price));
        dollars.map(|price| (price * 1e6).round() as u64)
    };
    let found: Option<Vec<u64>> = text.split(',').map(micros).collect();
    match found.as_deref() {
        Some([vcpu, memory_gib, storage_gib, public_ip]) => Ok(EcsPrices {
            vcpu: *vcpu,
            memory_gib: *memory_gib,
            storage_gib: *storage_gib,
            public_ip: *public_ip,
        }),
        _ => Err(refused().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_out_sorted_and_anything_else_is_refused() {
        assert_eq!(ids("subnet-b, subnet-a,subnet-b", "subnet-", 16).unwrap(), ["subnet-a", "subnet-b"]);
        for bad in ["", "sg-1", "subnet-a,", "subnet-a b"] {
            assert!(ids(bad, "subnet-", 16).is_err(), "{bad:?}");
        }
        assert!(ids("sg-1,sg-2,sg-3", "sg-", 2).is_err());
    }

    #[test]
    fn prices_are_dollars_per_hour() {
        assert_eq!(prices("0.04048, 0.004445,0.000111,0.005").unwrap(), LIST_PRICES_X86);
        for bad in ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1,2,3,-4", "NaN,1,1,1"] {
            assert!(prices(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_ecs_needs_is_named() {
        let mut reader = Reader { get: |_: &str| None, errors: Vec::new() };
        let settings = EcsSettings::read(&mut reader);
        assert!(reader.errors.is_empty(), "the defaults are good");
        let missing: Vec<&str> = settings.missing().into_iter().map(|(name, _)| name).collect();
        assert_eq!(missing, ["AGENT_RUNNER_ECS_TASK_DEFINITION", "AGENT_RUNNER_ECS_SUBNETS"]);
        assert!(task_definition("worker").is_err() && task_definition("worker:3").is_ok());
    }
}
