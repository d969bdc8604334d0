"""The subjects of the benchmark of checks, a module each with

- TITLE (a text or a function that returns it): what tables show, with the version;
- missing(): what it lacks to run here and how to get that, in a line; empty when it can run;
- running(folder, world): an async context manager that starts it with the world's policy and yields a Subject.
"""
