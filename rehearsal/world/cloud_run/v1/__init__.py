"""Cloud Run's v1 API, in Knative's form, on the same state as v2.

The v2 message is the truth of everything that both APIs know; a v1 object is made from it at every read. What a v1
object says beyond that is kept beside the message (`kept`) and put back into what is read.
"""
