"""The revisions. Each is written out and never changed after a release: what ran once has to stay readable."""
