package serve_test

import "testing"

func TestOneChangeIsSentMakeBeforeBreak(t *testing.T) {
	w := newWorld(t)
	w.set("cds:old=1", "eds:old=1", "lds:l=1", "rds:r=old")
	c := w.client()
	c.subscribe(cds)
	c.expectAcked("cds old")
	c.subscribe(eds, "old", "new")
	c.expectAcked("eds old -new")
	c.subscribe(lds)
	c.expectAcked("lds l")
	c.subscribe(rds, "r")
	c.expectAcked("rds r")
	c.nothing()

	w.change([]string{"rds:r=new", "lds:l=2", "eds:new=1", "cds:new=1"}, []string{"cds:old", "eds:old"})
	added := c.expect("cds new")
	endpoints := c.expect("eds new")
	c.expectAcked("lds l")
	c.expectAcked("rds r")
	c.nothing()
	c.ack(added)
	c.expectAcked("cds -old")
	c.ack(endpoints)
	c.expectAcked("eds -old")
	c.nothing()
}

func TestRoutesWaitForClustersThatAreNotAnswered(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1", "rds:r=a")
	c := w.client()
	c.subscribe(cds)
	first := c.expect("cds a")
	c.subscribe(rds, "r")
	c.expectAcked("rds r")
	c.nothing()

	w.set("cds:b=1", "rds:r=b")
	c.nothing()
	c.ack(first)
	c.expectAcked("cds b")
	c.expectAcked("rds r")
}

func TestClustersGoOnlyAfterTheRoutesThatWait(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1", "cds:b=1", "rds:r=1")
	c := w.client()
	c.subscribe(cds)
	c.expectAcked("cds a b")
	c.subscribe(rds, "r")
	unanswered := c.expect("rds r")
	w.change([]string{"rds:r=2"}, []string{"cds:a"})
	c.nothing()
	c.ack(unanswered)
	c.expectAcked("rds r")
	c.expectAcked("cds -a")
}

func TestEndpointsFollowAClusterThatWasSent(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1", "eds:a=1")
	c := w.client()
	c.subscribe(cds, "a")
	c.expectAcked("cds a")
	c.subscribe(eds, "a")
	c.expectAcked("eds a")
	w.set("cds:a=2")
	c.expectAcked("cds a")
	c.expectAcked("eds a")
	c.nothing()
}
