"""Why did the classifier decide so? Explain it, measure the explanation, train an explainer."""
