-- A job that has begun may go on to its end, which is what makes room; one that is new waits for it.
if ARGV[2] == '1' then also_when_full() end
return write_control(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], '')
