"""What is served: signatures, their inputs, and the tables behind them."""
