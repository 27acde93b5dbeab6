"""How a flow run gets its process: forked from one that has imported everything, so that it starts in a moment."""
