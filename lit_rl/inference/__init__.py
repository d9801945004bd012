"""A trained policy in use: loaded to act, evaluated, played and filmed, exported."""
