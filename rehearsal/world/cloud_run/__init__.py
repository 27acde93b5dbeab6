"""Cloud Run Admin API v2 over gRPC: services, revisions and operations behind the real client's back."""
