"""The stages on Amazon EMR: each is a job run (EMR Serverless) or a step (EMR on EC2) of the Spark engine."""
