-- ARGV: worker, slot.
return take(ARGV[1], ARGV[2])
