"""How texts, tables and figures call the results of an agent: from the roles and the words of its metrics."""

from __future__ import annotations

from dataclasses import dataclass

from aggregate import flags
from aggregate.analysis.factor_effects import PRIMARY
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.plan_questions import ENDPOINTS, endpoint
from sweepwise.core.agent import AgentDescription
from sweepwise.core.metrics import Catalogue, Metric


@dataclass(frozen=True)
class AgentWords:
    """The words for one agent."""

    catalogue: Catalogue

    @property
    def primary(self) -> str:
        """The primary metric, as in "return"."""
        return self.catalogue.primary.words

    @property
    def primaries(self) -> str:
        """Its plural, where it is a plain word."""
        return f"{self.primary}s" if self.primary.isalpha() and not self.primary.endswith("s") else self.primary

    @property
    def plans(self) -> bool:
        """Whether evaluation is with planning and, next to it, of the policy without MPC."""
        return "policy_without_mpc" in self.catalogue.roles

    @property
    def planning(self) -> str:
        """ " with planning", for agents that plan."""
        return " with planning" if self.plans else ""

    @property
    def final(self) -> str:
        """As in "final return"."""
        return f"final {self.primary}"

    @property
    def deciding(self) -> str:
        """The final result in a sentence, as in "final return with planning"."""
        return f"{self.final}{self.planning}"

    @property
    def up(self) -> bool:
        """Whether a higher primary metric is better."""
        return self.catalogue.sign > 0

    @property
    def better(self) -> str:
        """Where better values lie."""
        return "above" if self.up else "below"

    @property
    def worst(self) -> str:
        """The extreme that is worst."""
        return "lowest" if self.up else "highest"

    @property
    def curves(self) -> str:
        """Heading of the curves of results."""
        return f"{sentence(self.primary)} curves" if self.primary.isalpha() else "Curves"

    @property
    def unit(self) -> str:
        """Unit of the primary metric as a phrase."""
        unit = self.catalogue.primary.unit
        return {"return": "return of an episode", "1": f"{self.primary}, without a unit"}.get(unit, unit)

    @property
    def outcomes(self) -> dict[str, str]:
        """Column of the scores -> heading, of the endpoints that this agent has; the primary one first."""
        titles = {
            PRIMARY: f"{self.final}, planning" if self.plans else self.final,
            "auc_primary": "area under curve",
            "fall_primary": self.fall,
        }
        return titles | ({"final_policy": f"{self.final}, policy without MPC"} if self.plans else {})

    @property
    def fall(self) -> str:
        """How the primary metric gets worse late in training."""
        return endpoint("fall", self.catalogue).title


def words(sweep: SweepSummary) -> AgentWords:
    """The words for the agent of a sweep."""
    return AgentWords(sweep.source.agent.catalogue)


def lacks(name: str, agent: AgentDescription) -> str:
    """The role that the endpoint `name` needs and that no metric of the agent has; "" if there is none."""
    if ENDPOINTS[name].rate:
        return flags.BY_NAME[ENDPOINTS[name].column].lacking(agent)
    return "policy_without_mpc" if name == "policy" and "policy_without_mpc" not in agent.catalogue.roles else ""


def points(metric: Metric) -> str:
    """The unit of a difference, with a leading blank: " return points", " nat", or "" for a plain number."""
    return {"return": " return points", "1": ""}.get(metric.unit, f" {metric.unit}")


def sentence(text: str) -> str:
    """`text` with a capital letter; the rest, which may be the name of a metric, stays as it is."""
    return f"{text[:1].upper()}{text[1:]}"
