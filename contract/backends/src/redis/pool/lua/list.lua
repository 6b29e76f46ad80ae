-- Every token.
return redis.call('SMEMBERS', TASKS)
