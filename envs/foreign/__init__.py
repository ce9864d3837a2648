"""Tasks and games of other libraries as environments, played in processes of their own."""
