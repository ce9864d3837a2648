from ludus.envs.scripted import ScriptedAgent
GRID_AGENTS = {}
