//! What people type who know kubectl: understood where it can mean one thing only, else answered with what to type.

use std::ffi::OsString;

/// Verbs of other programs, and what does the same here.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["delete", "rm"],
        "`agent-runner cancel JOB_ID` ends a job, and ttl_seconds_after_finished says how long it stays after its \
         end\nto have an ended job removed now: agent-runner set JOB_ID ttl_seconds_after_finished=0",
    ),
    (&["kill", "stop"], "`agent-runner cancel JOB_ID` ends a job, `suspend` holds it"),
    (
        &["restart"],
        "`agent-runner retry JOB_ID` starts a job again, `retry --force` also one that has not ended",
    ),
    (
        &["apply", "create"],
        "`agent-runner submit JOB_TYPE` submits a job, `submit -f FILE` a file of them; `set` and `edit` change one",
    ),
    (
        &["patch", "replace", "label", "annotate"],
        "`agent-runner set JOB_ID FIELD=VALUE` changes a job, as in labels.team=search; `edit` opens an editor",
    ),
    (
        &["list", "ls", "ps", "status", "top"],
        "`agent-runner get` lists the jobs, `describe JOB_ID` shows one",
    ),
    (&["watch"], "`agent-runner get -w` shows each change"),
    (&["events"], "`agent-runner describe JOB_ID` shows the events of a job"),
    (
        &["version"],
        "`agent-runner --version` is this program's, `agent-runner doctor` compares it with the server's",
    ),
];

/// The verbs that take job ids.
const OF_JOBS: &[&str] =
    &["get", "describe", "explain", "logs", "wait", "retry", "cancel", "suspend", "resume", "set", "edit"];

/// Their options that take no value, so that a word behind one stands for itself.
const FLAGS: &[&str] =
    &["-w", "--watch", "-f", "--follow", "-p", "--previous", "--raw", "-y", "--yes", "--force", "--dry-run"];

/// The words of the command line without the `job` or `jobs` that kubectl wants before ids.
///
/// # Errors
/// What to type instead of a verb that is not there.
pub(super) fn understood(mut words: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let text =
        |at: usize, words: &[OsString]| words.get(at).and_then(|w| w.to_str()).unwrap_or("").to_owned();
    let mut at = 1;
    while text(at, &words).starts_with('-') {
        // The options of every verb; both take a value.
        at += if matches!(text(at, &words).as_str(), "--url" | "--token-file") { 2 } else { 1 };
    }
    let verb = text(at, &words);
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(verbs, _)| verbs.contains(&verb.as_str())) {
        return Err(format!("there is no verb `{verb}`: {instead}"));
    }
    let resource = (at + 1..words.len()).find(|&here| {
        let before = text(here - 1, &words);
        let stands_alone =
            !before.starts_with('-') || before.contains('=') || FLAGS.contains(&before.as_str());
        stands_alone && matches!(text(here, &words).as_str(), "job" | "jobs")
    });
    if let Some(resource) = resource.filter(|_| OF_JOBS.contains(&verb.as_str())) {
        words.remove(resource);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_of(line: &str) -> String {
        let words = understood(line.split(' ').map(OsString::from).collect());
        words.map_or_else(|e| e, |words| words.join(" ".as_ref()).into_string().unwrap())
    }

    #[test]
    fn the_word_job_is_taken_out_where_it_names_the_kind_of_thing_and_nowhere_else() {
        for (typed, meant) in [
            ("a get jobs", "a get"),
            ("a --url u get jobs -l x", "a --url u get -l x"),
            ("a --url=u --token-file t get job id", "a --url=u --token-file t get id"),
            ("a get -w jobs", "a get -w"),
            ("a get -o yaml job id", "a get -o yaml id"),
            ("a get --output=yaml job id", "a get --output=yaml id"),
            ("a edit job id", "a edit id"),
            ("a logs -f job id", "a logs -f id"),
            ("a cancel job id", "a cancel id"),
            ("a get --type job jobs", "a get --type job"),
            ("a get --type jobs", "a get --type jobs"),
            ("a cancel id --cause job", "a cancel id --cause job"),
            ("a submit job", "a submit job"),
            ("a run jobs", "a run jobs"),
            ("a --url jobs up", "a --url jobs up"),
            ("a", "a"),
        ] {
            assert_eq!(made_of(typed), meant, "{typed}");
        }
    }

    #[test]
    fn a_verb_of_another_program_is_answered_with_what_does_the_same_here() {
        use clap::CommandFactory;
        let program = crate::args::Cli::command();
        for (verbs, instead) in ELSEWHERE {
            for verb in *verbs {
                assert!(program.find_subcommand(verb).is_none(), "{verb} is there");
                assert_eq!(
                    made_of(&format!("a --url u {verb} x")),
                    format!("there is no verb `{verb}`: {instead}")
                );
            }
            let named =
                instead.split("agent-runner ").skip(1).filter_map(|rest| rest.split([' ', '`']).next());
            for word in named.filter(|word| !word.starts_with('-')) {
                assert!(program.find_subcommand(word).is_some(), "{word} is not there");
            }
        }
    }
}
