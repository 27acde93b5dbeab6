"""EthixAI's services as the playbook's section 5 sees them. Imports the standard library only (see ``app.py``)."""
