"""The judge has to find each broken promise."""

import unittest

import judge


def found(jobs, text):
    """What the judge says to a ledger with these lines."""
    return judge.mistakes(jobs, judge.read(text))


def job(**changes):
    """A job that succeeded in its second attempt."""
    whole = {
        "job_id": "a",
        "expected": "SUCCEEDED",
        "status": "SUCCEEDED",
        "attempts": [(1, True, True, "failed"), (2, True, True, "succeeded")],
        "result": {"job_id": "a", "attempt": 2},
    }
    return judge.Job(**{**whole, **changes})


GOOD = "start a 1 h 10\nend a 1 h 20\nstart a 2 h 30\nend a 2 h 40"


class Judge(unittest.TestCase):
    """One case for each promise."""

    def test_what_is_as_it_should_be_is_accepted(self):
        self.assertEqual(found([job()], GOOD), [])
        killed = "start a 1 h 10\nstart a 2 h 30\nend a 2 h 40"
        self.assertEqual(found([job()], killed), [])

    def test_an_attempt_that_was_started_twice_is_found(self):
        self.assertEqual(found([job()], GOOD + "\nstart a 2 i 31"), ["attempt 2 of a was started 2 times"])

    def test_overlapping_executions_are_found(self):
        early = "start a 1 h 10\nend a 1 h 35\nstart a 2 h 30\nend a 2 h 40"
        self.assertEqual(found([job()], early), ["attempt 2 of a was started before the one before had ended"])
        self.assertEqual(
            found([job()], GOOD + "\noverlap a 2 h 30"), ["attempt 2 of a met another agent of its job alive"]
        )

    def test_a_lost_job_and_a_wrong_end_are_found(self):
        self.assertEqual(found([job(status="lost", result=None)], GOOD), ["a is lost and not SUCCEEDED"])
        self.assertEqual(found([job(expected="FAILED")], GOOD), ["a is SUCCEEDED and not FAILED"])

    def test_an_execution_that_is_not_on_record_is_found(self):
        self.assertEqual(
            found([job()], GOOD + "\nstart a 3 h 50"), ["attempt 3 of a was executed without passing a gate"]
        )
        self.assertEqual(found([job()], GOOD + "\nstart b 1 h 50"), ["b was executed, and nobody has submitted it"])

    def test_attempts_with_one_number_are_found_unless_they_are_drafts(self):
        attempts = [(1, True, True, "failed"), (2, False, True, "left"), (2, True, True, "succeeded")]
        self.assertEqual(found([job(attempts=attempts)], GOOD), [])
        attempts[1] = (2, True, True, "left")
        self.assertIn("a has attempts with one number: [1, 2, 2]", found([job(attempts=attempts)], GOOD))

    def test_an_attempt_that_stays_open_is_found(self):
        attempts = [(1, True, False, "failed"), (2, True, True, "succeeded")]
        self.assertEqual(found([job(attempts=attempts)], GOOD), ["attempt 1 of a is open after the end of its job"])

    def test_a_success_without_an_end_or_with_another_result_is_found(self):
        self.assertEqual(
            found([job()], "start a 1 h 10\nend a 1 h 20\nstart a 2 h 30"),
            ["attempt 2 of a succeeded, and its agent did not end"],
        )
        other = {"job_id": "a", "attempt": 1}
        self.assertEqual(
            found([job(result=other)], GOOD),
            ["the result of a is {'job_id': 'a', 'attempt': 1}, and attempt 2 succeeded"],
        )


if __name__ == "__main__":
    unittest.main()
