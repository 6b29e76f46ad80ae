# shellcheck shell=bash
# shellcheck disable=SC2034  # the scripts use what is set here
# Sourced by the scripts of this folder: which account and region, and how AWS is called.
#
# The profile is AWS_PROFILE, or dan-admin. Keys in the environment (AWS_ACCESS_KEY_ID) are used as they are
# when AWS_PROFILE is not set: a CI job has no profile. Who calls for Terraform takes the credentials that Terraform
# has, whatever they are: `ambient`.

region=${AWS_REGION:-us-east-1}
cluster=agent-runner
service=orchestrator
yes=''
# What --help shows: the comment below the first line.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"; }
say() { printf '%s\n' "$*" >&2; }
fail() {
  say "$(basename "$0"): $*"
  exit 1
}
wrong() {
  say "$(basename "$0"): $*; try --help"
  exit 2
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || case $tool in
      session-manager-plugin)
        fail "session-manager-plugin is not installed: https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
        ;;
      *) fail "$tool is not installed" ;;
    esac
  done
}

# Asks unless --yes was given. Without a terminal the answer is no.
confirm() {
  [[ -n $yes ]] && return
  local answer=''
  read -r -p "$1 [y/N] " answer || true
  [[ $answer == [yY]* ]] || fail "nothing was done"
}

# Takes one of the options that all scripts have: common "$@". Sets `taken` to the number of words it took.
taken=0
common() {
  taken=0
  case ${1:-} in
    -h | --help)
      usage
      exit 0
      ;;
    -y | --yes)
      yes=1
      taken=1
      ;;
    --region | --profile)
      [[ -n ${2:-} ]] || wrong "$1 needs a value"
      if [[ $1 == --region ]]; then region=$2; else export AWS_PROFILE=$2 && assumed=''; fi
      taken=2
      ;;
  esac
}

assumed=''
if [[ -z ${AWS_PROFILE:-} && -z ${AWS_ACCESS_KEY_ID:-} ]]; then
  export AWS_PROFILE=dan-admin
  assumed=1
fi
export AWS_PAGER=

# Nobody named a profile, so none is used.
ambient() {
  [[ -z $assumed ]] || unset AWS_PROFILE
  assumed=''
}

# Terraform reads AWS_PROFILE; the command line is told, so that what is pasted elsewhere shows which it is.
call() {
  local profile=()
  [[ -z ${AWS_PROFILE:-} ]] || profile=(--profile "$AWS_PROFILE")
  aws ${profile[@]+"${profile[@]}"} --region "$region" "$@"
}

# The ARNs of an answer in text form, one a line; AWS writes None where there is none.
arns() { tr -s '[:blank:]' '\n' | sed -n '/^arn:/p'; }

account() { call sts get-caller-identity --query Account --output text; }

# The folder of the Terraform module, and of the repository.
infra=$(cd "$(dirname "${BASH_SOURCE[0]}")/../terraform" && pwd)
root=$(cd "$infra/../.." && pwd)
module() { terraform -chdir="$infra" "$@"; }

# A state knows one region. Asked about it in another one, Terraform finds nothing there, forgets what it knows, and
# makes everything again or says that it has destroyed it. Told from ARNs: outputs go first when a destroy stops half-way.
same_region() {
  local there
  there=$(module show -json | jq -r '[.values.root_module.resources[]? | select(.mode == "managed") | .values.arn? // empty | split(":")[3] | select(. != "")] | unique | join(", ")')
  [[ -z $there || $there == "$region" ]] ||
    fail "the installation that the state of $infra knows is in $there, and the region is $region: --region $there, or a checkout for each"
}
