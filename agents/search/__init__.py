"""How a model is used: as it is (`direct`), with a thought before each step (`react`), or with test-time
search.

Search plays in copies of the environment, made like the real one and brought to its state by `snapshot()` and
`restore()`, and then acts in the real one. An episode's `prompt_tokens` and `completion_tokens` count all
lines that were played; its ids are those of the line that was followed. What a result means depends on what
the search was allowed to see:

| agent | sees of the copies | its results are |
|---|---|---|
| `direct`, `react` | nothing | a policy's own |
| `majority-N` | what its actions lead to | as honest as the copies are: it looks at no reward |
| `best-of-N` | rewards of N whole episodes | oracle-verified, an upper bound, as pass@N |
| `beam-N`, `mcts-N` | rewards on the way | those of a planner with a perfect model of its world |

With a score of their own (`BestOfN(policy, 8, score=likelihood)`), or a model that scores episodes
(`Beam(policy, score=scorer)`, `MCTS(policy, score=scorer)`), they look at no reward and are as honest as that
score."""
