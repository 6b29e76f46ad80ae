"""A query of the dashboard that has no data has to be found."""

import pathlib
import unittest

import prometheus

COMPOSE = pathlib.Path(__file__).parents[2] / "compose"


class Dashboards(unittest.TestCase):
    """What is said when the server answers so."""

    def said(self, has_data):
        """`has_data` answers for each query."""
        self.addCleanup(setattr, prometheus, "ask", prometheus.ask)
        self.asked = []

        def ask(_base, _path, query):
            self.asked.append(query)
            return {"result": [1] if has_data(query) else []}

        prometheus.ask = ask
        return prometheus.dashboards("", COMPOSE)

    def test_all_is_well_while_each_query_has_data(self):
        self.assertEqual(self.said(lambda query: True), "")
        self.assertGreater(len(self.asked), 30)

    def test_one_query_without_data_is_named(self):
        said = self.said(lambda query: "agent_runner_orphan_tasks_total" not in query)
        self.assertIn("Orphans", said)
        self.assertNotIn("Duplicates", said)

    def test_what_may_be_empty_is_named_and_nothing_else_is(self):
        self.assertEqual(self.said(lambda query: "ALERTS" not in query), "")
        self.assertFalse([query for query in self.asked if "ALERTS" in query], "nobody looks at what it has")

    def test_nothing_is_excused_that_the_dashboard_does_not_have(self):
        titles = set()
        for file in COMPOSE.glob("grafana/dashboards/*.json"):
            titles |= {title for title, _ in prometheus.expressions(prometheus.json.loads(file.read_text()))}
        self.assertLessEqual(prometheus.EMPTY.keys(), titles)


if __name__ == "__main__":
    unittest.main()
