# What is made has an address of its own here, which the answers of ../mocks do not know: enough for a plan.
mock_provider "aws" {
  source = "../mocks"
}

run "a_role_of_the_same_configuration_can_be_planned_before_it_is_made" {
  command = plan

  assert {
    condition     = module.agent_runner.cluster == "agent-runner"
    error_message = "the module"
  }
}
