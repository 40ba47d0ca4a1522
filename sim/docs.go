package main

import "context"

func writeDocs(context.Context, flags, []result, *table) error { return nil }
