"""The laws that the method rests on, in small: a few seconds on tiny models, with the libraries and device in use."""
