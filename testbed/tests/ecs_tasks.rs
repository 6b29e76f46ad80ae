//! Tasks on ECS, by the unmodified client of AWS, against the double.

#[path = "ecs_tasks/budget.rs"]
mod budget;
#[path = "ecs_tasks/faults.rs"]
mod faults;
#[path = "ecs_tasks/news.rs"]
mod news;
#[path = "ecs_tasks/room.rs"]
mod room;
#[path = "ecs_tasks/stage.rs"]
mod stage;
#[path = "ecs_tasks/whole.rs"]
mod whole;

use stage::Cluster;

fn cluster() -> Cluster {
    Cluster::start(stage::with_workers(), 1)
}

reconciler::tasks_conformance!(cluster);
