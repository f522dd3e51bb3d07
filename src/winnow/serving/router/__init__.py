"""The router: it stands before a deployment's replicas while its route has two revisions, and never longer."""
