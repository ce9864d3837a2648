"""Every check of `[trust]`: what must hold, and what an alarm says. The readings are taken by the modules
beside this one; the limits are in the configuration."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["numerics", "identity", "data"]


@dataclass(frozen=True)
class Check:
    """One alarm. Its reading is a number for each step, which must not be beyond the limit."""

    name: str
    """Of the check, and of its limit in `[trust]`."""
    kind: Kind
    holds: str
    """What is true while it does not ring."""
    alarm: str
    """What is wrong once it rings: likely causes, and what to do."""
    unit: str = ""
    bound: Literal["most", "least"] = "most"
    """Whether the limit is the most or the least that a reading may be."""
    given_as: str = ""
    """The metric that has the reading, where that is a metric of its own."""

    @property
    def metric(self) -> str:
        return self.given_as or f"trust/{self.name}"

    def is_worse(self, reading: float, than: float) -> bool:
        """nan is worse than any number."""
        if reading != reading or than != than:
            return than == than
        return reading > than if self.bound == "most" else reading < than

    def holds_at(self, reading: float, limit: float) -> bool:
        """False for nan, which no limit admits."""
        return reading <= limit if self.bound == "most" else reading >= limit


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        # Numerics.
        Check(
            "not_finite",
            "numerics",
            "losses, gradients and weights are finite",
            "the weights have most likely grown without bound, or a log-probability was -inf; with an "
            "infinite gradient the step was not taken. Begin a new run with a lower grpo.learning_rate "
            "(critic.learning_rate, if it is the value model's), or more warmup_steps",
            unit="numbers",
        ),
        Check(
            "first_ratio",
            "numerics",
            "before the first update of a batch the ratio of new to old policy is 1",
            "both policies are the same then, so the forward pass is not reproducible. Likely causes: "
            "dropout or another random layer that evaluation mode leaves on, or operators that are not "
            "deterministic",
        ),
        Check(
            "mismatch_mean",
            "numerics",
            "engine and trainer agree about the log-probabilities of sampled tokens, on average",
            "engine and trainer compute different probabilities for the tokens that were sampled, so the "
            "gradient would be of another policy. Likely causes: half precision (raise the limit), a model "
            "whose cached and uncached forward passes differ, or weights that the engine did not take over",
            unit="nats",
            given_as="mismatch_mean",
        ),
        Check(
            "mismatch_max",
            "numerics",
            "engine and trainer agree about every single token",
            "engine and trainer compute different probabilities for the tokens that were sampled, so the "
            "gradient would be of another policy. Likely causes: half precision (raise the limit), a model "
            "whose cached and uncached forward passes differ, or weights that the engine did not take over",
            unit="nats",
            given_as="mismatch_max",
        ),
        Check(
            "mismatch_bias",
            "numerics",
            "engine and trainer differ by chance, in neither direction",
            "the engine's probabilities are all too high, or all too low. Likely causes: another "
            "temperature, ids left out (top_p, top_k, min_p) that were not recorded, probable ids that only "
            "pad the vocabulary and are never sampled, or a penalty that the trainer does not know",
            unit="nats",
        ),
        Check(
            "mismatch_slice",
            "numerics",
            "engine and trainer agree at every position, in every turn, and for every version of the weights",
            "only some tokens differ. Late positions point to rotations or a window of attention, late turns "
            "to a history that was rendered or cached differently, one version to weights that came late",
            unit="nats",
        ),
        Check(
            "ratio_spread",
            "numerics",
            "an update's policy is near the one that played (|log ratio|, 99th percentile before clipping)",
            "the updates of a batch lead far from the policy that sampled it. Lower grpo.learning_rate, or "
            "take fewer updates_per_batch and epochs_per_batch",
            unit="nats",
        ),
        Check(
            "effective_samples",
            "numerics",
            "the ratios leave most of the batch its weight: (Σ ratio)² / (n Σ ratio²)",
            "a few tokens have most of the weight, so the gradient is theirs alone. Lower "
            "grpo.learning_rate, or take fewer updates_per_batch and epochs_per_batch",
            bound="least",
        ),
        Check(
            "clip_share",
            "numerics",
            "the bounds of the ratio leave most tokens a gradient",
            "most tokens are clipped in some update and teach nothing. Lower grpo.learning_rate, take fewer "
            "updates of a batch, or wider bounds (grpo.clip_low, clip_high)",
        ),
        Check(
            "mask_share",
            "numerics",
            "the correction for the engine's numbers leaves most tokens as they are",
            "the correction bounds most tokens: engine and trainer are too far apart for it. Find out why "
            "(mismatch_slice tells where), or raise grpo.correction_bound",
            given_as="correction_bounded",
        ),
        Check(
            "entropy",
            "numerics",
            "the policy still explores",
            "every token is all but certain, so the episodes of a group are the same and teach nothing. "
            "Begin a new run with grpo.entropy_coefficient, a higher clip_high, or fewer steps",
            unit="nats",
            bound="least",
            given_as="entropy",
        ),
        Check(
            "gradient_spike",
            "numerics",
            "the gradient's norm is not many times its median over the last steps",
            "one batch asks for another policy than all before it. Likely causes: one episode with a huge "
            "reward or length, or a learning rate at the edge. The step was not taken, and its episodes are "
            "stored; if they are sound, continue with --resume and a higher limit",
            unit="times",
        ),
        Check(
            "explained_variance",
            "numerics",
            "the value model is not clearly worse than a constant, on average over its last steps",
            "the value model's errors are larger than the spread of what was earned, so the advantages hold "
            "its noise. Raise critic.lead_steps, or change critic.learning_rate",
            bound="least",
        ),
        # Identity.
        Check(
            "engine_weights",
            "identity",
            "every engine samples from the trainer's weights",
            "an engine's weights have another fingerprint than the trainer's: they were not taken over after "
            "an update, or in part only",
            unit="engines",
        ),
        Check(
            "unchanged_weights",
            "identity",
            "an update with a gradient changes the weights",
            "the optimiser does not train the model's parameters, or the learning rate is too small for the "
            "number format (bfloat16 rounds a small change away)",
            unit="updates",
        ),
        Check(
            "frozen_weights",
            "identity",
            "what is not trained stays as it was: frozen parameters, the reference",
            "something wrote to weights that are not trained, so divergence and adapters mean something else "
            "than before. Likely cause: two models that share a tensor",
            unit="models",
        ),
        Check(
            "stale_cache",
            "identity",
            "engines forget keys and values when the weights change",
            "what was computed under the old weights would be attended to under the new ones; the engine's "
            "weights_changed must empty its cache",
            unit="tokens",
        ),
        Check(
            "stale_episodes",
            "identity",
            "every episode was sampled from the weights of its step",
            "episodes name another version of the weights than the engine had: they were played before an "
            "update, or across one",
            unit="episodes",
        ),
        Check(
            "tokenizer",
            "identity",
            "tokenizer and chat template are those that the run began with",
            "the same text would become other ids than before. Put the model's tokenizer files back, or "
            "begin a new run",
        ),
        Check(
            "vocabulary",
            "identity",
            "policy, reference, value model and tokenizer have one vocabulary",
            "the same id would mean something else to each; take models of one family",
            unit="ids",
        ),
        # Data.
        Check(
            "untrained_tokens",
            "data",
            "every sampled token is trained exactly once",
            "tokens were left out of the batch, or are in it twice: rows, packing and minibatches do not "
            "match the episodes",
            unit="tokens",
        ),
        Check(
            "unsampled_tokens",
            "data",
            "no other token than the sampled ones has an advantage",
            "what is trained on is not what was sampled: a mask or an index is off, or a text was tokenised "
            "again",
            unit="tokens",
        ),
        Check(
            "identical_completions",
            "data",
            "the completions of a group repeat each other no more than by chance",
            "equal completions of improbable tokens are the sign of equal seeds: the samples of a group were "
            "drawn with the same random numbers",
            unit="orders of magnitude below chance",
        ),
        Check(
            "held_out_tasks",
            "data",
            "no task that is held out is trained on",
            "figures on held-out tasks would be of tasks that were trained on; an environment's "
            'info["task"] must follow from the seed alone',
            unit="episodes",
        ),
        Check(
            "truncation",
            "data",
            "token limits do not cut off most completions, over the last steps",
            "completions end where the limit ends them, so that nothing is learned about ending. Raise "
            "rollout.max_tokens, prime for longer, or look whether the model samples its end of turn at all",
        ),
        Check(
            "flat_groups",
            "data",
            "some groups earn different rewards, over the last steps",
            "all episodes of every group earn the same, so nothing is learned. Take easier or harder tasks "
            "(a curriculum), larger groups, or look whether the reward can be earned at all",
        ),
        Check(
            "fault_share",
            "data",
            "few episodes fault",
            "faulted episodes are left out, so the rest is a biased sample. Fix what broke and go on with "
            "--resume",
            given_as="fault_share",
        ),
        Check(
            "faults_by_action",
            "data",
            "faults do not follow what the policy does",
            "a faulted episode counts nowhere, so a policy can learn to break its environment: find the bug, "
            "the step's episodes are stored",
            unit="orders of magnitude below chance",
        ),
        Check(
            "faults_by_reward",
            "data",
            "faults do not follow what a task's other episodes earn",
            "the episodes that are left out are those of hard (or of easy) tasks, so every mean is biased, "
            "though few faulted: find what these tasks have in common",
            unit="orders of magnitude below chance",
        ),
        Check(
            "length_drift",
            "data",
            "completions are not many times longer or shorter than in the first steps",
            "the policy has found that length is rewarded, or that nothing is lost by saying nothing; read "
            "some episodes (ludus view), then look at the rubric and at the loss's normaliser",
            unit="times",
        ),
        Check(
            "form_over_success",
            "data",
            "no form term rises while success falls",
            "the policy earns form instead of success: lower the weight of the form term in the rubric",
            unit="standard errors",
        ),
        Check(
            "planted_answers",
            "data",
            "scorers score planted bad answers lower than good ones, over the last steps",
            "a model that scores episodes is taken in by answers that are known to be bad, and the policy "
            "will find out. Take a stronger model or a clearer rubric; `ludus judge` shows what it falls for",
        ),
        Check(
            "score_over_rule",
            "data",
            "no score rises while the rule beside it falls",
            "the policy earns a model's score by something else than what the rule checks. Read some "
            "episodes (ludus view); begin a new run with a gate, a lower weight or a stronger model",
            unit="standard errors",
        ),
        Check(
            "reward_fall",
            "data",
            "the mean reward of the last two steps is not far below the best step's",
            "the updates undo what was learned, most likely because they are too large: begin a new run with "
            "a lower grpo.learning_rate or with more grpo.groups; model.path and sft.steps = 0 take over the "
            "primed model",
            unit="standard errors",
        ),
        Check(
            "cursor_gap",
            "data",
            "a step goes on at the task where the last one ended",
            "tasks were skipped or are played twice: the checkpoint and metrics.jsonl are of different runs. "
            "Copy back the one that belongs here, or begin a new run",
            unit="tasks",
        ),
    )
}
