"""The modes of trainer.main: train, eval, predict and plan."""
