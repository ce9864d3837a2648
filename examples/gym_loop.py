"""One episode, as research code has it: `gymnasium.make`, `reset`, `step`.

Run it with `python examples/gym_loop.py`.
"""

import gymnasium as gym

import ludus  # noqa: F401  (importing it registers the environments)


def main() -> None:
    env = gym.make("ludus/PacManChat-v0")
    messages, info = env.reset(seed=7)
    agent = env.unwrapped.scripted["oracle"](env)
    agent.begin()
    print(messages[-1]["content"], end="\n\n")

    total, ended = 0.0, False
    while not ended:
        reply = agent.act(messages, info)  # or your model's answer to `messages`
        messages, reward, terminated, truncated, info = env.step(reply)
        total += reward
        ended = terminated or truncated
        print(f"{reply!s:<40.40} reward {reward:+.2f}  {info['reward_terms']}")
    print(f"return {total:.2f}, success {info['success']}")


if __name__ == "__main__":
    main()
