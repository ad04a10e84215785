"""Language models that are asked as they are: here, by the likelihood of words, or at an endpoint, by what they say."""
