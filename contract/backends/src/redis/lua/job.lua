return read_job(ARGV[1])
