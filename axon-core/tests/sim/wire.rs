//! The memory transport, with every frame that is sent taken into the trace.

use crate::trace::Trace;
use async_trait::async_trait;
use axon_core::error::TransportError;
use axon_core::transport::memory::MemTransport;
use axon_core::transport::{Channel, FrameSink, Lane, Transport};
use bytes::Bytes;
use futures_util::Sink;
use std::pin::Pin;
use std::task::{Context, Poll};

pub struct Traced {
    pub inner: MemTransport,
    pub trace: Trace,
}

impl Traced {
    fn wrap(&self, channel: Channel, way: String) -> Channel {
        let Channel { sink, stream } = channel;
        Channel { sink: Box::pin(TracedSink { sink, way, trace: self.trace.clone() }), stream }
    }
}

#[async_trait]
impl Transport for Traced {
    async fn connect(&self, address: &str, lane: Lane) -> Result<Channel, TransportError> {
        let channel = self.inner.connect(address, lane).await?;
        Ok(self.wrap(channel, format!("{} > {address} {lane:?}", self.local_address())))
    }

    async fn accept(&self) -> Result<Channel, TransportError> {
        let channel = self.inner.accept().await?;
        Ok(self.wrap(channel, format!("{} answers", self.local_address())))
    }

    fn local_address(&self) -> String {
        self.inner.local_address()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct TracedSink {
    sink: FrameSink,
    way: String,
    trace: Trace,
}

impl Sink<Bytes> for TracedSink {
    type Error = TransportError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        self.sink.as_mut().poll_ready(context)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Bytes) -> Result<(), TransportError> {
        self.trace.frame(&self.way, &frame);
        self.sink.as_mut().start_send(frame)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        self.sink.as_mut().poll_flush(context)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        self.sink.as_mut().poll_close(context)
    }
}
