"""What is put on AWS and into Prefect: the archive for EMR, the CloudFormation template, deployments."""
