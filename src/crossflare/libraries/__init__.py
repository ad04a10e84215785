"""What crossflare uses of other libraries beyond their documented API: one module per library, each name guarded."""
