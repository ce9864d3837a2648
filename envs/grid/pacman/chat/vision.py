"""`ludus/PacManVision-v0`: Pac-Man by pictures, over several turns."""

from typing import Any

from ludus.envs.arguments import takes_arguments_of
from ludus.envs.grid.pacman.chat.environment import PacManChat


class PacManVision(PacManChat):
    """Eat every pellet of a maze that is shown as a picture, and keep away from the ghosts.

    ## Task
    That of `ludus/PacManChat-v0`, with the same starts, rules and replies, for models that see.

    ## Observation
    First a system message with the colours and the form of a reply; then, each turn, a user message whose
    content is a list of two parts:

        {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}
        {"type": "text", "text": "20 left, open: up right left"}

    The picture has `pixels` times `pixels` pixels for each cell: Pac-Man is yellow, walls are dark blue,
    pellets are dots and power pellets large ones; ghosts are red, pink, turquoise and orange, harmless ones
    bright blue or white, and dimmed while they wait at home. With `view=r` it shows the square of `2r + 1`
    cells around Pac-Man. The same seed gives the same pixels. With `observation="both"` the second part
    begins with the board as text.

    ## Actions
    As in `ludus/PacManChat-v0`: any text with exactly one `<action>…</action>`, and in it 1 to `plan_limit`
    of the words `up`, `right`, `down`, `left`.

    ## Rewards
    As there: `pellet` (weight 1), `power` (5), `ghost` (10), `caught` (-10), `cleared` (20), `malformed`
    (-0.5), `illegal` (-0.5).

    ## End of episode
    Terminates when Pac-Man is caught or has cleared the maze; truncates after `max_turns` turns.
    `info["success"]` says whether the maze was cleared.

    ## Arguments
    As there: `rows`, `columns`, `layout`, `ghosts`, `ghost_speed`, `power_pellets`, `frightened_steps`,
    `view`, `plan_limit`, `max_turns`, `render_mode`; and

    - `observation`: `picture` (the default), `both` or `text`.
    - `pixels`: of a cell's side, 12 to 64 (default 24).

    ## Version history
    - v0: first version.
    """

    @takes_arguments_of(PacManChat, observation="picture")
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
