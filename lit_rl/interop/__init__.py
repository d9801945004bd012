"""stable-baselines3 and RL Zoo files, in and out, without running anybody's code.

A leaf: it needs nothing of lit_rl but its errors and the careful readers of `untrusted`,
and only the command line and the start of a run import it.

    sb3          an agent's zip: weights, settings, parts, shapes
    text         the readable text beside what SB3 serialised: classes, schedules, spaces, keyword arguments
    vecnormalize observation and reward moments, in and out
    shapes       the sizes that a policy's tensors tell
    warmstart    weights by today's names, which moments belong to them, what is set differently
    zoo          a block of the RL Zoo's YAML
    run_yaml     all of that as a run.yaml, with a list of what is not carried
    export       a run's policy as a zip that `stable_baselines3.PPO.load` opens
"""
