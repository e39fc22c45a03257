def handleTimerEvent():
	gatepost.poll.run()
