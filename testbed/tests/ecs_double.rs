//! The double of ECS, by raw requests: every behaviour that a client may lean on.

#[path = "ecs_double/events.rs"]
mod events;
#[path = "ecs_double/faults.rs"]
mod faults;
#[path = "ecs_double/life.rs"]
mod life;
#[path = "ecs_double/program.rs"]
mod program;
#[path = "ecs_double/quotas.rs"]
mod quotas;
#[path = "ecs_double/reads.rs"]
mod reads;
#[path = "ecs_double/refusals.rs"]
mod refusals;
#[path = "ecs_double/rig.rs"]
mod rig;
#[path = "ecs_double/tokens.rs"]
mod tokens;
#[path = "ecs_double/workers.rs"]
mod workers;
