"""Who wins an endgame of minichess."""
