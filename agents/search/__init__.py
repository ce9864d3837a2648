"""How a model is used: as it is (`direct`), with a thought before each step (`react`), or with search at test
time.

Search plays in copies of the environment, made like the one that is played and taken to its situation by
`snapshot()` and `restore()`, and then acts in the real one. An episode's `prompt_tokens` and
`completion_tokens` count all lines that were played; its ids are those of the line that was followed. What a
figure means depends on what the search was allowed to see:

| agent | sees of the copies | its figures are |
|---|---|---|
| `direct`, `react` | nothing | a policy's own |
| `majority-N` | what its actions lead to | honest where the copies are: no reward is looked at |
| `best-of-N` | rewards of N whole episodes | oracle-verified, an upper bound, as pass@N |
| `beam-N`, `mcts-N` | rewards on the way | those of a planner with a perfect model of its world |

With a score of one's own (`BestOfN(policy, 8, score=likelihood)`) best-of-n is as honest as that score.
"""
