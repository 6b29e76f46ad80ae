//! An emulator with what the Terraform module makes, as far as the blocks marked `sh aws` ask for it: tables, the
//! cluster with its service, and workers. The double of ECS that other tests use has neither services nor tables.

use crate::dynamodb::{JOB, Table};
use crate::page::Block;
use crate::{root, shell};
use serde_json::Value;
use std::process::{Command, Stdio};

/// `agent-runner-jobs` is there already.
const INSTALL: &str = r#"
for table in attempts leases; do
  aws dynamodb create-table --table-name "agent-runner-$table" --billing-mode PAY_PER_REQUEST \
    --attribute-definitions AttributeName=key,AttributeType=S --key-schema AttributeName=key,KeyType=HASH >/dev/null
done
aws ecs create-cluster --cluster-name agent-runner >/dev/null
aws ecs register-task-definition --family agent-runner-orchestrator \
  --container-definitions '[{"name": "api", "image": "images/agent-runner-control-api@sha256:1"}]' >/dev/null
aws ecs register-task-definition --family agent-runner-worker \
  --container-definitions '[{"name": "worker", "image": "images/agent-runner-worker@sha256:1"}]' >/dev/null
aws ecs create-service --cluster agent-runner --service-name orchestrator --desired-count 1 \
  --task-definition agent-runner-orchestrator >/dev/null
"#;
const WORKER: &str = "aws ecs run-task --cluster agent-runner --task-definition agent-runner-worker --started-by job/1 \
    --query 'tasks[0].taskArn' --output json";
const WORKERS: &str =
    r#"aws ecs describe-tasks --cluster agent-runner --tasks "$TASK" --query 'tasks[0].lastStatus'"#;
const WANTED: &str = "aws ecs describe-services --cluster agent-runner --services orchestrator \
    --query 'services[0].desiredCount'";

/// See the module.
pub(crate) struct Account {
    table: Table,
}

impl Account {
    /// Starts one; says so where something is missing.
    pub(crate) fn open() -> Option<Self> {
        let table = Table::start()?;
        for shared in ["infra", "compose"] {
            std::os::unix::fs::symlink(root().join(shared), table.folder().join(shared)).expect("a link");
        }
        table.typed(INSTALL);
        Some(Self { table })
    }

    fn shell(&self, task: &str) -> Command {
        let mut shell = self.table.shell(JOB);
        // The scripts look again for workers that ECS lists late, which this emulator does not.
        shell.env("AGENT_RUNNER_LOOK_AGAIN_SECONDS", "0").env("AWS_REGION", "us-east-1");
        shell.env("TASK", task).env("WHEN", "2026-11-22T12:00:00Z");
        shell
    }

    fn ask(&self, text: &str, task: &str) -> Value {
        let output = shell::ended(text, self.shell(task));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Types a block in, answering `y` to whatever asks. A worker runs where the block is about them.
    pub(crate) fn type_in(&self, page: &str, block: &Block) {
        let about_workers = ["infra/scripts/", "$TASK"].iter().any(|word| block.text.contains(word));
        let task = if about_workers { self.table.typed(WORKER) } else { Value::Null };
        let task = task.as_str().unwrap_or_default().to_owned();
        let answers = self.table.folder().join("answers");
        std::fs::write(&answers, "y\n".repeat(4)).expect("a file");
        let mut shell = self.shell(&task);
        shell.stdin(Stdio::from(std::fs::File::open(answers).expect("a file")));
        shell::type_in(page, block, shell);
        let Some((_, count)) = block.text.rsplit_once("infra/scripts/scale ") else { return };
        let wanted = if count.starts_with('0') { 0 } else { 1 };
        assert_eq!(self.ask(WANTED, &task), wanted, "{page}: the orchestrator");
        if block.text.contains("infra/scripts/scale 0") {
            assert_eq!(self.ask(WORKERS, &task), "STOPPED", "{page}: a worker is left");
        }
    }
}
