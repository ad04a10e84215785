"""How a step is made: training a model, or predicting a test part."""
